;; fails: malformed-answer in evaluate
;; in evaluate
(i32.store8 (i32.const 8) (i32.const 0))
(i32.store8 (i32.const 28) (i32.const 1))
(i32.store (i32.const 32) (i32.const 256))
(i32.store (i32.const 36) (i32.const 1))
(i64.store (i32.const 512) (i64.const 0x646e6f6d616964))
(i32.store (i32.const 256) (i32.const 512))
(i32.store (i32.const 260) (i32.const 7))
(i32.store (i32.const 264) (i32.const 1))
(return (i32.const 0))
