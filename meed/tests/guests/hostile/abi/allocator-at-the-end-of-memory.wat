;; fails: malformed-answer in evaluate
;; Only the last byte is within memory.
;; in realloc
(return (i32.sub (i32.mul (memory.size) (i32.const 65536)) (local.get $align)))
