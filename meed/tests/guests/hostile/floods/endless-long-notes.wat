;; fails: malformed-answer in evaluate
;; Two megabytes of text at a time: more than one transfer may have.
;; pages: 30
;; in imports
(import "meed:condition/log@1.0.0" "note" (func $note (param i32 i32)))
;; in evaluate
(loop $again (call $note (i32.const 65536) (i32.const 1900000)) (br $again))
