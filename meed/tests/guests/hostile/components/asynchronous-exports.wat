;; refused: does-not-compile
;; Functions that return later, by a callback: an earlier engine's stack could overflow this way.
;; in definitions
(core module $later (func (export "f") (result i32) (i32.const 0)) (func (export "g") (param i32 i32 i32) (result i32) (i32.const 0)))
(core instance $later (instantiate $later))
(func $later (canon lift (core func $later "f") async (callback (core func $later "g"))))
