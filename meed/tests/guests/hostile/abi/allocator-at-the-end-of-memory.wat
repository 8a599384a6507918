;; fails: malformed-answer in evaluate
;; The last byte is there, what follows is not.
;; in realloc
(return (i32.sub (i32.mul (memory.size) (i32.const 65536)) (local.get $align)))
