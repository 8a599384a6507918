;; fails: malformed-answer in evaluate
;; The first half of the answer is within memory.
;; in evaluate
(return (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 16)))
