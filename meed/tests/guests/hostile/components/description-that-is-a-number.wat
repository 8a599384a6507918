;; refused: wrong-world, says describe
;; The right names, one wrong type.
;; in definitions
(core module $wrong (func (export "f") (result i32) (i32.const 0)))
(core instance $wrong (instantiate $wrong))
(func $wrong (result u32) (canon lift (core func $wrong "f")))
;; in describe-export
func $wrong
