;; fails: malformed-answer in evaluate
;; in evaluate
(return (i32.const -16))
