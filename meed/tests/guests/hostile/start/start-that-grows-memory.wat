;; fails: memory-limit in describe
;; in items
(func $start (loop $again (drop (memory.grow (i32.const 1))) (br $again)))
(start $start)
