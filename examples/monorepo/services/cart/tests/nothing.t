printf 'mug\tblue mug\t899\t3\ntea\tgreen tea\t450\t20\n' >/tmp/catalog
printf '0 tea\n' | cart /tmp/catalog
