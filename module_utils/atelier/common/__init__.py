"""What every other package of the core uses: errors, messages and their texts, models, validation, files, locks."""
