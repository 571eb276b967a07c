FROM bare AS ok
FROM faulty-words
