;; fails: malformed-answer in evaluate
;; The reward exists, but not in this quantity.
;; in evaluate
(i32.store8 (i32.const 8) (i32.const 0))
(i32.store8 (i32.const 28) (i32.const 1))
(i32.store (i32.const 32) (i32.const 256))
(i32.store (i32.const 36) (i32.const 1))
(i32.store (i32.const 512) (i32.const 0x646c6f67))
(i32.store (i32.const 256) (i32.const 512))
(i32.store (i32.const 260) (i32.const 4))
(i32.store (i32.const 264) (i32.const -1))
(return (i32.const 0))
