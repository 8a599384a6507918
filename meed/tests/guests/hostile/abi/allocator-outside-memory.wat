;; fails: malformed-answer in evaluate
;; in realloc
(return (i32.const -16))
