;; refused: malformed
;; A count in LEB128 that never ends.
(module binary "\00asm\01\00\00\00" "\01\07" "\80\80\80\80\80\80\00")
