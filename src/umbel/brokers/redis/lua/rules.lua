-- All rules.
-- KEYS  1 root
-- Made from root: rules overrides (hashes)
-- Returns {{rule, declared numbers …}, {rule, override …}}. Cost: O(rules). Writes nothing.
return {redis.call('HGETALL', KEYS[1] .. 'rules'), redis.call('HGETALL', KEYS[1] .. 'overrides')}
