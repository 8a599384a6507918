;; fails: malformed-answer in evaluate
;; in evaluate
(i32.store8 (i32.const 8) (i32.const 0))
(i32.store8 (i32.const 40) (i32.const 1))
(i64.store (i32.const 48) (i64.const 0x7fffffffffffffff))
(return (i32.const 0))
