;; fails: out-of-fuel in describe
;; in items
(func $start (loop $again (memory.fill (i32.const 65536) (i32.const 1) (i32.const 65536)) (br $again)))
(start $start)
