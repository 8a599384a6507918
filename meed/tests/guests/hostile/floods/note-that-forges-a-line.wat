;; fails: trap in evaluate
;; A line break, a colour of the terminal and a made-up line of the log. What is kept is one line without them.
;; in imports
(import "meed:condition/log@1.0.0" "note" (func $note (param i32 i32)))
;; in items
(data (i32.const 0) "harmless\0a\1b[31mERROR meed: everything is lost\0d\00")
;; in evaluate
(call $note (i32.const 0) (i32.const 46))
unreachable
