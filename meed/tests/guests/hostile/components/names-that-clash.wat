;; refused: does-not-compile
;; Two exports whose names differ in case alone.
;; in definitions
(core module $m (func (export "f")))
(core instance $i (instantiate $m))
(func $f (canon lift (core func $i "f")))
(export "surplus" (func $f))
(export "SURPLUS" (func $f))
