;; fails: malformed-answer in evaluate
;; in evaluate
(i32.store8 (i32.const 8) (i32.const 0))
(i32.store (i32.const 12) (i32.const 257))
(i32.store (i32.const 16) (i32.const 1))
(return (i32.const 0))
