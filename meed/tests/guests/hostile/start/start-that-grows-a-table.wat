;; fails: table-limit in describe
;; in items
(table $t 0 funcref)
(func $start (loop $again (drop (table.grow $t (ref.null func) (i32.const 100))) (br $again)))
(start $start)
