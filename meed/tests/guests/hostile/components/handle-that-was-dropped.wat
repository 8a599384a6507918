;; fails: malformed-answer in describe
;; in definitions
(type $thing (resource (rep i32)))
(core func $drop (canon resource.drop $thing))
(core instance $handles (export "drop" (func $drop)))
;; in with
(with "handles" (instance $handles))
;; in imports
(import "handles" "drop" (func $drop (param i32)))
;; in describe
(call $drop (i32.const 12345))
