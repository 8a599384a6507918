;; refused: malformed
(module binary "\00asm\01\00\00\00" "\7f\01\00")
