;; refused: wrong-world
;; The section that should describe the component holds a component type nested into itself and cut.
;; without metadata
(module (@custom "component-type:condition" "\00asm\0d\00\01\00\07\05\01A\02\01B"))
