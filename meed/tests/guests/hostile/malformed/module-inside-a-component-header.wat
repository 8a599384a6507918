;; refused: malformed
;; The header of a component, the sections of a module.
;; without metadata
(component binary "\00asm\0d\00\01\00"
  "\01\04\01\60\00\00"
  "\03\02\01\00"
  "\0a\04\01\02\00\0b")
