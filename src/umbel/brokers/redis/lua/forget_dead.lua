-- Delete dead letters for good.
-- KEYS  1 root
-- ARGV  1 queue ('' for any) · 2 first rank ('' where names follow) · 3 last ms of dying · 4 … names
-- Made from root: dead died buried deadsize
-- Returns {how many, the rank to go on with or -1}. Cost: O(letters looked at), at most 1,000 where no names are given.
-- @include route record ring limit lane place keyed node flow member ending front bury letters
local count, next = each_letter(KEYS[1], ARGV, function(name)
  unbury(KEYS[1], name)
  return true
end)
return {count, next}
