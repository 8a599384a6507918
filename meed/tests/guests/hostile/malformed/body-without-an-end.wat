;; refused: malformed
;; The last instruction of the function is cut in its operand: i64.const without a number.
(module binary "\00asm\01\00\00\00"
  "\01\04\01\60\00\00"
  "\03\02\01\00"
  "\0a\05\01\03\00\42\80")
