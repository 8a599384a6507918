;; refused: malformed
;; A type section that claims four gigabytes and has one byte.
(module binary "\00asm\01\00\00\00" "\01\ff\ff\ff\ff\0f" "\00")
