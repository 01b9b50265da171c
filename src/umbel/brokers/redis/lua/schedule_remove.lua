-- Delete a schedule.
-- KEYS  1 root · 2 ticks (hash) · 3 schedules (set)
-- ARGV  1 name
-- Made from root: tick:NAME (hash), see parts/ticks.lua
-- Returns 1, or 0 if there is none. Cost: O(1). The first write is one that is never refused for lack of room.
-- @include ticks
return remove_schedule(KEYS[1], ARGV[1])
