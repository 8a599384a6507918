;; fails: malformed-answer in evaluate
;; in realloc
(if (i32.gt_u (local.get $align) (i32.const 1)) (then (return (i32.const 65537))))
