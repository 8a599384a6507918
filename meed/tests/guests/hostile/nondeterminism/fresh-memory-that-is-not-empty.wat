;; fails: trap in evaluate
;; Reads the new pages after growth, which another guest may have used.
;; in evaluate
(local $at i32)
(local.set $at (i32.mul (memory.grow (i32.const 16)) (i32.const 65536)))
(loop $again
  (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then (return (i32.const 8))))
  (local.set $at (i32.add (local.get $at) (i32.const 512)))
  (br_if $again (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))))
unreachable
