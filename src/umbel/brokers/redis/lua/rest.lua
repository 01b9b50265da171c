-- Go on with what changed rules left to do.
-- KEYS  1 root
-- Made from root: changed (set) · those of parts/lane.lua
-- Returns 1 if there is more, else 0. Cost: as rule.lua.
-- @include clock route ring limit lane reconsider
return reconsider(KEYS[1], 1000)
