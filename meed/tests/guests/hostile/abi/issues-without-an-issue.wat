;; fails: malformed-answer in bind
;; Refuses the params and does not say why.
;; in bind
(i32.store8 (i32.const 0) (i32.const 1))
(return (i32.const 0))
