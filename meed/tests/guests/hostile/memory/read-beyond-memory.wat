;; fails: trap in evaluate
;; in evaluate
(drop (i64.load offset=0xffffffff (i32.const -1)))
