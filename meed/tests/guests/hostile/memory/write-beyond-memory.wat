;; fails: trap in evaluate
;; Looks for the neighbour in the pool, page by page.
;; in evaluate
(local $at i32)
(loop $again
  (i32.store (local.get $at) (i32.const 0x41414141))
  (local.set $at (i32.add (local.get $at) (i32.const 4096)))
  (br $again))
