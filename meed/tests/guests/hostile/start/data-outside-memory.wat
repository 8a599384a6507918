;; fails: trap in describe
;; Instantiation itself fails.
;; in items
(data (i32.const 0x7fffffff) "x")
