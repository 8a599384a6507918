;; refused: structure-limit
;; A count that would make a careless reader reserve gigabytes.
(module binary "\00asm\01\00\00\00" "\01\05" "\ff\ff\ff\ff\0f")
