;; fails: malformed-answer in bind
;; A ninth kind of query.
;; in bind
(i32.store (i32.const 4) (i32.const 256))
(i32.store (i32.const 8) (i32.const 1))
(i32.store8 (i32.const 256) (i32.const 8))
(return (i32.const 0))
