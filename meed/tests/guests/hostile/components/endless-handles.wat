;; fails: malformed-answer in describe
;; A resource of its own: each handle is an entry in a table of the host's.
;; in definitions
(type $thing (resource (rep i32)))
(core func $new (canon resource.new $thing))
(core instance $handles (export "new" (func $new)))
;; in with
(with "handles" (instance $handles))
;; in imports
(import "handles" "new" (func $new (param i32) (result i32)))
;; in describe
(loop $again (drop (call $new (i32.const 0))) (br $again))
