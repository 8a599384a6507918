;; refused: does-not-compile
;; Functions that answer later, by a callback: once the way to an overflow of the host's stack.
;; in definitions
(core module $later (func (export "f") (result i32) (i32.const 0)) (func (export "g") (param i32 i32 i32) (result i32) (i32.const 0)))
(core instance $later (instantiate $later))
(func $later (canon lift (core func $later "f") async (callback (core func $later "g"))))
