;; fails: out-of-fuel in evaluate
;; One byte per page, repeatedly: cheap in fuel, expensive in time.
;; pages: 30
;; in evaluate
(local $at i32)
(loop $again
  (i32.store8 offset=65536 (local.get $at) (i32.const 1))
  (local.set $at (i32.rem_u (i32.add (local.get $at) (i32.const 4096)) (i32.const 1900000)))
  (br $again))
