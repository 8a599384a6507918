;; refused: wrong-world, says describe
;; The right names, one wrong type.
;; in definitions
(core module $wrong (memory (export "memory") 1) (func (export "f") (result i32) (i32.const 0)))
(core instance $wrong (instantiate $wrong))
(func $wrong (result string) (canon lift (core func $wrong "f") (memory $wrong "memory")))
;; in describe-export
func $wrong
