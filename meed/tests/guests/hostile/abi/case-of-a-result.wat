;; fails: malformed-answer in evaluate
;; Neither a decision nor an error.
;; in evaluate
(i32.store8 (i32.const 0) (i32.const 2))
(return (i32.const 0))
