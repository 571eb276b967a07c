printf 'mug\tblue mug\t899\t3\ntea\tgreen tea\t450\t20\n' >/tmp/catalog
printf '1 moon\n' | cart /tmp/catalog
