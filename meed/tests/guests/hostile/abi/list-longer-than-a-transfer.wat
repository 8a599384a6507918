;; fails: malformed-answer in evaluate
;; All of it is in memory, as the empty reason 5,400 times.
;; in evaluate
(i32.store8 (i32.const 8) (i32.const 0))
(i32.store (i32.const 16) (i32.const 5400))
(return (i32.const 0))
