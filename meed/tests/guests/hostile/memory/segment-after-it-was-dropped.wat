;; fails: trap in evaluate
;; in items
(data $segment "secret")
;; in evaluate
(data.drop $segment)
(memory.init $segment (i32.const 0) (i32.const 0) (i32.const 1))
