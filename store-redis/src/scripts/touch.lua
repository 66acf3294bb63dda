-- A write of no meaning: replicas that have it have every write before it.

call('SET', KEYS[1] .. ':f', now, 'PX', 60000)
return 1
