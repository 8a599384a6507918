;; fails: malformed-answer in evaluate
;; An error message with a slash in two bytes instead of one.
;; in evaluate
(i32.store8 (i32.const 512) (i32.const 0xc0))
(i32.store8 (i32.const 513) (i32.const 0xaf))
(i32.store8 (i32.const 0) (i32.const 1))
(i32.store (i32.const 8) (i32.const 512))
(i32.store (i32.const 12) (i32.const 2))
(return (i32.const 0))
