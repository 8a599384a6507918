;; fails: out-of-fuel in evaluate
;; 2^60 calls at a depth of sixty.
;; in items
(func $twice (param i32)
  (if (local.get 0)
    (then
      (call $twice (i32.sub (local.get 0) (i32.const 1)))
      (call $twice (i32.sub (local.get 0) (i32.const 1))))))
;; in evaluate
(call $twice (i32.const 60))
