;; fails: malformed-answer in evaluate
;; All of it is in memory, as the empty reason eight thousand times.
;; in evaluate
(i32.store8 (i32.const 8) (i32.const 1))
(i32.store (i32.const 16) (i32.const 8000))
(return (i32.const 0))
