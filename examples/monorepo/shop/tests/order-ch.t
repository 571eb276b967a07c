echo '1 spoon' >/tmp/one
shop ch /tmp/one
