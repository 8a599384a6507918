;; refused: malformed
;; A function section with one function and no code section.
(module binary "\00asm\01\00\00\00"
  "\01\04\01\60\00\00"
  "\03\02\01\00")
