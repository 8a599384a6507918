;; fails: malformed-answer in describe
;; in describe
(return (i32.const -8))
