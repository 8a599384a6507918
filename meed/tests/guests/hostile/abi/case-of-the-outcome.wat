;; fails: malformed-answer in evaluate
;; in evaluate
(i32.store8 (i32.const 8) (i32.const 3))
(return (i32.const 0))
