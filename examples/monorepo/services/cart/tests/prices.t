printf 'mug\tblue mug\t899\t3\ntea\tgreen tea\t450\t20\n' >/tmp/catalog
printf '2 tea\n1 mug\n' | cart /tmp/catalog
